"""Inference's part of /api/v1/."""

from django.urls import path

from inference.api import views

urlpatterns = [
    path("models", views.Models.as_view(), name="models"),
    path("models/<slug:key>", views.Model.as_view(), name="model"),
    path("estimate", views.Estimate.as_view(), name="estimate"),
    path("generations", views.Generations.as_view(), name="generations"),
    path("generations/<uuid:generation_id>", views.GenerationView.as_view(), name="generation"),
    path("generations/<uuid:generation_id>/cancel", views.Cancel.as_view(), name="generation_cancel"),
    path("generations/<uuid:generation_id>/events", views.Events.as_view(), name="generation_events"),
]
