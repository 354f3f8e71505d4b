//! SPDY/3.1, WebSocket channel protocols and port-forward tunnels over any byte stream
