"""The pages of how the models do, for everybody; of operations and of reports, for staff."""
