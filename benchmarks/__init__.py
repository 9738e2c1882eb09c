"""Speed side by side with Keras, a plain PyTorch loop and the machine's own limit."""
