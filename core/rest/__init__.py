"""What both APIs are made of: errors, fields, lists, limits, and how they are documented."""
