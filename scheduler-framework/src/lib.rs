//! The scheduler: extension points, queue, snapshot, default plugins and the loop
