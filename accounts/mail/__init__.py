"""Mails: each is first written as a row, and sent afterwards."""
