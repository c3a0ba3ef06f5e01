"""Netlist to System; settling, transients, and ngspice as the reference."""
