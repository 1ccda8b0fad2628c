"""HTTP/1.1 over sockets: a component that knows bytes, connections and time, and nothing of models."""
