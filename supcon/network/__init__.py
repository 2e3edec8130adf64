"""The network: encoder, heads, where and in which precision it computes."""
