"""Turns messages and texts into the token ids of a prompt, in the format of each model. Does not import torch."""
