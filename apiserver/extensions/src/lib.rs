//! CustomResourceDefinitions: structural schemas and the kinds they define
