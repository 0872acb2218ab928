//! Every system call and every unsafe block stands below this door.
