//! `cpu`, `memory`, `memoryReservation`, `maxSwap`, `swappiness`, `ulimits`: read back where the kernel keeps them.
