//! Who is stopped and who is spared.
