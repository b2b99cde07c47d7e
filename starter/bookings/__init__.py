"""Bookings for people: they are booked, redeemed by codes, looked at, and ended."""
