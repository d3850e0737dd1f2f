//! What goes wrong at the provider, in a delivery, on the machine: each a clear error, and nothing lost.

mod bodies;
mod commands;
mod deliveries;
mod provider;
mod storage;
