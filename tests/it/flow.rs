//! The whole program, from a provider's account to the prompt.

mod chat;
mod matching;
mod orders;
mod rates;
mod reach;
mod runs;
