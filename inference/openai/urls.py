"""URLs under /v1/, as OpenAI's clients know them."""

from django.urls import path, re_path

from inference.openai import views

app_name = "openai"
urlpatterns = [
    path("models", views.models, name="models"),
    path("models/<path:key>", views.model, name="model"),
    path("chat/completions", views.chat_completions, name="chat_completions"),
    path("completions", views.completions, name="completions"),
    re_path("^.*$", views.unknown, name="unknown"),
]
