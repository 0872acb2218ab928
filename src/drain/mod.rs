//! Who is still busy.
