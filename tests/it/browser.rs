//! The browser SDK: its files, how they are served, and what they do in a real Chromium.

mod docs;
mod driver;
mod files;
mod real;
mod sending;
mod stand;
mod trouble;
