"""Capacity: how much the hosts have, who holds how much of it, and the rules that decide.

Everything here is pure.
"""
