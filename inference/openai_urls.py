"""URLs under /v1/, as OpenAI's clients know them."""

from django.urls import path, re_path

from inference import openai_views

app_name = "openai"
urlpatterns = [
    path("models", openai_views.models, name="models"),
    path("models/<path:key>", openai_views.model, name="model"),
    path("chat/completions", openai_views.chat_completions, name="chat_completions"),
    path("completions", openai_views.completions, name="completions"),
    re_path("^.*$", openai_views.unknown, name="unknown"),
]
