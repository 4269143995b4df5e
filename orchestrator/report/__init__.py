"""From documents and events to what an operator reads. Pure: values in, text out."""
