"""A call's way: read, admitted, held for, forwarded, relayed, settled."""
