//! The built-in kinds against what a server of Kubernetes 1.36 was seen to answer.

#[cfg(test)]
mod affinity_warnings;
#[cfg(test)]
mod amounts;
#[cfg(test)]
mod creates;
#[cfg(test)]
mod definitions;
#[cfg(test)]
mod device_gates;
#[cfg(test)]
mod expressions;
#[cfg(test)]
mod gates;
#[cfg(test)]
mod hooks;
#[cfg(test)]
mod rows;
#[cfg(test)]
mod rules;
#[cfg(test)]
mod states;
#[cfg(test)]
mod storage;
#[cfg(test)]
mod updates;
