"""The API's answers, as the command line reads them: each is checked before a command sees it."""
