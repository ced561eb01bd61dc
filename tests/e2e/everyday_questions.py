"""Ten questions that anybody might ask first, and what a sensible answer contains, in any case of letters."""

QUESTIONS = {
    "What is the capital of France?": ("paris",),
    "What is 2 + 2?": ("4",),
    "What is the opposite of hot?": ("cold",),
    "Hello!": ("hello",),
    "Which planet do we live on?": ("earth",),
    "What colour is the sky on a clear day?": ("blue",),
    "How many days are in a week?": ("seven", "7"),
    "Which animal says meow?": ("cat",),
    "Name a fruit that is yellow.": ("banana", "lemon", "mango"),
    "Who wrote Romeo and Juliet?": ("shakespeare",),
}


def is_right(question: str, answer: str) -> bool:
    """Whether the answer contains one of the words that it has to contain."""
    return any(word in answer.lower() for word in QUESTIONS[question])
