"""observe owns observers and the pure metric functions under them. It never changes what it looks at."""

from simworld.observe._actions import action_rates
from simworld.observe._graph import Graph, adjacency, in_degrees, out_degrees, projection
from simworld.observe._network import (
    assortativity,
    average_clustering,
    centralisation,
    clustering_summary,
    communities,
    components,
    degree_summary,
    density,
    gini,
    local_clustering,
    modularity,
    reciprocity,
    transitivity,
    triangles,
)
from simworld.observe._nulls import Null, null_of, paradox_nulls, shuffle_test
from simworld.observe._observers import (
    Actions,
    Assortativity,
    Centralisation,
    Clustering,
    Components,
    Degrees,
    Density,
    FriendshipParadox,
    Modularity,
    Reciprocity,
    describe,
    meaning,
    observer,
    observer_names,
)
from simworld.observe._paradox import (
    arc_averages,
    degree_means,
    directed_paradoxes,
    edge_mean,
    friendship_paradox,
    hierarchy,
    neighbour_degrees,
    node_mean,
    rare_contacts,
)
from simworld.observe._society import Finding, Observer, Society, StillSociety

__all__ = [
    # seams
    "Society",
    "StillSociety",
    "Observer",
    "Finding",
    "observer",
    "observer_names",
    "describe",
    "meaning",
    # observers
    "Degrees",
    "Density",
    "Reciprocity",
    "Clustering",
    "Assortativity",
    "Components",
    "Modularity",
    "Centralisation",
    "FriendshipParadox",
    "Actions",
    # graphs
    "Graph",
    "adjacency",
    "projection",
    "in_degrees",
    "out_degrees",
    # friendship paradox
    "friendship_paradox",
    "directed_paradoxes",
    "hierarchy",
    "edge_mean",
    "node_mean",
    "neighbour_degrees",
    "degree_means",
    "arc_averages",
    "rare_contacts",
    # nulls
    "Null",
    "null_of",
    "shuffle_test",
    "paradox_nulls",
    # networks
    "degree_summary",
    "gini",
    "density",
    "reciprocity",
    "triangles",
    "transitivity",
    "local_clustering",
    "average_clustering",
    "clustering_summary",
    "assortativity",
    "components",
    "modularity",
    "communities",
    "centralisation",
    # actions
    "action_rates",
]
