"""Mutation testing: small mistakes are put into a module one after another, and the tests that run the line have to
notice each.

``python -m tests.support.mutation MODULE TESTS...`` (``make mutants``): pytest collects the tests once, in a process
that has the module loaded; each mutant is a fork of it, in which the code of one function is exchanged and the tests
that reach the line are run until one fails.
"""
