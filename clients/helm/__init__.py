"""Helm: releases, and the charts that they are installed from."""
