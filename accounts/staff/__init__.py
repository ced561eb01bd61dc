"""The roles and rights of staff, and the suspension of users by staff."""
