# SPDX-License-Identifier: Apache-2.0
"""What the Python tests have in common: peers, users, private buses, services, and the booted system."""
