"""Tests of startup.py and deploy/local: real servers, real processes, no Django."""
