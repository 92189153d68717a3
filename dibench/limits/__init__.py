"""What limits a CUDA kernel on a layer and a card, without a GPU: a model of speed from the machine code.

In the order in which it is worked out: `cards` has what each GPU offers, `occupancy` the blocks that fit on a
multiprocessor; `machine_code` reads instructions with their scheduling, `main_loop` finds the loop that runs
and follows a warp through it; `prediction` makes a time of all that. `examine` puts it together.
"""
