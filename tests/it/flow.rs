//! The whole program, from a provider's account to the prompt.

mod calls;
mod chat;
mod contacts;
mod feed;
mod matching;
mod orders;
mod rates;
mod reach;
mod runs;
mod settlement;
mod sources;
