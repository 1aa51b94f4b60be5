//! Prices and attribution: a decoded call in, its cost and its owner out.
