"""Inference's part of /api/v1/."""

from django.urls import path

from inference import api

urlpatterns = [
    path("models", api.Models.as_view(), name="models"),
    path("models/<slug:key>", api.Model.as_view(), name="model"),
    path("estimate", api.Estimate.as_view(), name="estimate"),
    path("generations", api.Generations.as_view(), name="generations"),
    path("generations/<uuid:generation_id>", api.GenerationView.as_view(), name="generation"),
    path("generations/<uuid:generation_id>/cancel", api.Cancel.as_view(), name="generation_cancel"),
    path("generations/<uuid:generation_id>/events", api.Events.as_view(), name="generation_events"),
]
