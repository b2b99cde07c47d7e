"""Helm: releases, and the charts from which they are installed."""
