//! The command line of halo-sync.

fn main() {}
