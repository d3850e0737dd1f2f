//! The browser SDK: its files, how they are served, and what they do in a real Chromium.

mod driver;
mod files;
mod sending;
mod stand;
mod trouble;
