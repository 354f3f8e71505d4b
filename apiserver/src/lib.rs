//! The API server: request pipeline, verbs, registry of kinds, watch cache, discovery and OpenAPI
