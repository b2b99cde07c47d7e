"""The pages of the platform team, each for those whom the table of global verbs allows it."""
