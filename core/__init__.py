"""What the API, the admin and the database code of every app are made of. It imports no app."""
