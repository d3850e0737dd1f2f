//! Merge and render: who wins, what the text looks like, what it promises.
