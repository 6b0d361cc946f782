"""Clients of other people's services, shared by modules and adapters. Each is imported where it is used: some are heavy."""
