"""Mails: each is a row first, and is sent afterwards."""
