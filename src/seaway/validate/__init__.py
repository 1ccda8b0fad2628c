"""Is a version fit to take traffic, and what will users notice: the gate, its report and the plan."""
