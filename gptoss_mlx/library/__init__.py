"""The user's own documents, indexed to answer questions from them offline."""
