"""The words of the product as frozen data: verdicts, queries, checks, actions, steps, phases, ports, errors.

Pure: imports no other room and nothing but the standard library, so that every judge and every plan can be tested
without a platform.
"""
