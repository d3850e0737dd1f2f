//! Stored credentials: bound to their row, sealed anew while everything runs, refused without their key.

mod rotation;
mod start;
mod swaps;
