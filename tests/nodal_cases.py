"""Elements that only nodal analysis can simulate, each in a small circuit that biases it: conformance cases."""

from analogep.netlist.spice.read import read

DECKS = {
    "inductor": "V1 a 0 1\nL1 a b 1u\nR1 b 0 1k",
    "coupling": "V1 a 0 1\nR1 a b 1k\nL1 b 0 1u\nL2 c 0 4u\nK1 L1 L2 0.7\nR2 c 0 2k",
    "cccs": "V1 a 0 1\nR1 a b 1k\nVs b 0 0\nF1 c 0 Vs 2.5\nR2 c 0 3k\nR3 c a 5k",
    "ccvs": "V1 a 0 1\nR1 a b 1k\nVs b 0 0\nH1 c d Vs 700\nR2 c 0 3k\nR3 d a 5k",
    "diode": ".model m1 D(IS=1e-14 RS=10 CJO=2p TT=1n BV=6)\nV1 a 0 1\nR1 a b 1k\nD1 b 0 m1\nD2 0 b m1 2",
    "bjt": ".model m1 NPN(IS=1e-16 BF=90 VAF=50 RB=100 RC=5 CJE=1p CJC=1p TF=1n IKF=10m)\n"
    "V1 a 0 3\nR1 a b 500k\nR2 a c 5k\nQ1 c b 0 m1",
    "mosfet": ".model m1 NMOS(LEVEL=1 VTO=0.7 KP=100u GAMMA=0.3 LAMBDA=0.02 TOX=20n CGSO=0.2n CJ=1m RS=50)\n"
    "V1 a 0 3\nR1 a d 20k\nV2 g 0 1.4\nM1 d g 0 0 m1 W=10u L=2u AD=10p",
    "switch": ".model m1 SW(VT=0.5 RON=10 ROFF=100k)\nV1 a 0 1\nR1 a b 1k\nS1 b 0 a 0 m1\nS2 b c 0 a m1\nR2 c 0 1k",
}


def _built(name):
    return lambda: read(f"* {name}\n{DECKS[name]}\n.op\n.end\n")


CASES = {name: _built(name) for name in DECKS}
