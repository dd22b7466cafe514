// Loops that touch registers only: what the instruction itself allows on this core.
#pragma once
// Multiply-adds done by `rounds` rounds of 24 independent chains; 0 where the CPU lacks the instruction.
double limit_vpdpbusd_512(long rounds);
double limit_vpdpwssd_512(long rounds);
double limit_vpmaddwd_256(long rounds);
