"""What has to be so before anybody can ask for an environment: a list of parts, each with check and repair.

`moorage setup` walks it and repairs, `moorage doctor` walks it and tells.
"""
