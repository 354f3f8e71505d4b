//! The controller contract, the manager that runs controllers, and the built-in ones
