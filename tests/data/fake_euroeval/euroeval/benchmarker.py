"""As in EuroEval, adapters are refused where this says that there is no network."""


def internet_connection_available():
    return False
